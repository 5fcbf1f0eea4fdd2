"""Which trials run, where and for how long; the phases that a person starts. The only room that knows Ray."""
