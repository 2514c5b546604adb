"""Program to Clusters: what is computed together in one nest of loops."""
