"""What a machine of the cluster does: data, probes, training, measuring."""
