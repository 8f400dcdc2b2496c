"""What the commands `data ...` do: files in, answers and files out."""
