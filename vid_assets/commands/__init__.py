"""The commands of `vid-assets`, one file each: its help, its arguments, and what it does.

Another command is a file here, and a name in `vid_assets.cli`.
"""

#: Exit codes: done; something failed or is stale; wrong arguments or configuration.
OK, FAILED, USAGE = 0, 1, 2
