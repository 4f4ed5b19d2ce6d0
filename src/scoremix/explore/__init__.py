"""The interactive page over a finished run: `scoremix explore RUN`, on this machine alone."""
