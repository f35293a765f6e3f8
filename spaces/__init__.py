"""What can be tried: networks, growth, criteria, blends and genomes. Pure torch: no Ray, no files."""
