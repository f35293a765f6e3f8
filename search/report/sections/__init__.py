"""The parts of the page, one file each, in the order of the page. Each is a function that returns its HTML."""
