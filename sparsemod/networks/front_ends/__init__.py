"""Front ends: the signal processing between the samples and a network, with parameters that are searched together with it.

A front end is a member of `sparsemod.spec.methods.FRONT_ENDS`: a config, and a handler derived from `FrontEnd` of
`sparsemod.networks.front_ends.base`, in one file.
"""
