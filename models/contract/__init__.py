"""What the parts say to each other: ids, topics, sensor frames, messages. No clock, no file, no socket."""
