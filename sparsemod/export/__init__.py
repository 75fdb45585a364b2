"""Files to take away: an integer network in the formats that devices and other tools read. One package or module per format."""
