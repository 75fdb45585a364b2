"""Delivery of networks to users: exported files, the report card and the devices that the network fits."""
