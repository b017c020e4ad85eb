"""How bundles and wants get from the hub to the gateways."""
