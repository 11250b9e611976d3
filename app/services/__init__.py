"""Rules and queries. Plain functions, session first; they never commit, speak no HTTP, start no process."""
