"""Speech-to-speech providers: one factory, a thin subclass of each real plugin's model that lets
every wire event be seen, and pure parsers of those events."""
