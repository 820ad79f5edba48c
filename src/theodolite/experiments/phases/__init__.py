"""`phases`: the Fisher metric of a family of samples over two parameters, with its regions, ridges and geodesics."""
