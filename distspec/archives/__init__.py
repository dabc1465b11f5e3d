"""Archives of spectra, one file each, behind one protocol."""
