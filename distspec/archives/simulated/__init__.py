"""A simulated archive of JWST/NIRSpec PRISM spectra with known classes.

`archive` writes files (`spectrum_file`) and tables; `survey` plans them; `populations`, `galaxies` and
`nirspec` simulate the galaxies and the instrument. The package may import `distspec.core` and
`distspec.io`.
"""
