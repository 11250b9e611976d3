"""The worker side: claims jobs, runs spiders, builds versions. Never imports the HTTP side."""
