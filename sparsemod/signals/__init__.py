"""Signal processing in front of a network: framing, spectra, mel bands, cepstra and statistics of windows, as layers of its graph.

`BandEnergies` and `WindowStatistics` of `sparsemod.signals.modules` are torch modules without trained parameters. Capture translates them
to operators of the kinds `band_energies` and `window_statistics`, whose integer layers read 16-bit samples. `sparsemod.signals.tables`
holds the tables that the float functions, the integer layers and the C code share; it does not load torch.
"""
