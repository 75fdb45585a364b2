"""Networks handed to users: exported files, report card, the devices that they fit."""
