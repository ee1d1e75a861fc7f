"""The commands of `attnlab`, a file for each subject. Each command imports what it needs."""
