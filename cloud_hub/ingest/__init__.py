"""What gateways send up: taken from the broker, checked, stored in batches, receipted."""
