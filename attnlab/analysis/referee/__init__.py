"""The referee: what a sceptical reader would object to in results, as findings with codes."""
