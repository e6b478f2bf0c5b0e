"""The paper's experiments as declarative studies: which models, what is measured of them."""
