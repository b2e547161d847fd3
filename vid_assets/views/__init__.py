"""Pictures for people: contact sheets, filmstrips and plots, as image bytes that the web UI and files can show."""
