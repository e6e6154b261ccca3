"""Text of files and of the Hub: read, tokenized into shards, apart from what is evaluated."""
