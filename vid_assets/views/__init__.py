"""What people look at: sheets, filmstrips and plots, as bytes that the web UI and files can show, and tables."""
