"""How hard a data set is, told before any network is trained: class overlap, and the images themselves."""
