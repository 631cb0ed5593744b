"""The command `understudy recommend`."""
