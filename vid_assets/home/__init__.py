"""What keeps a home: its training runs, and the deletion of what nothing needs or what must go."""
