"""The pretraining of signal/durian-small: simulated spectra and series, a 1-D network, its export."""
