"""The parts of the made-up archive: populations, their spectra, the instrument, the survey."""
