"""What all rooms share: errors for people, whole files, command lines and output."""
