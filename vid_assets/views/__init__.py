"""What people look at: sheets and plots, as bytes that the web UI and files can show, and tables."""
