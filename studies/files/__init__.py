"""A study on disk: what lies in its folder, who may write there, and what a full or failing disk is told as."""
