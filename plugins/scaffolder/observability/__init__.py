"""What operators of the platform see of the package: metrics, fields of log lines, and spans of traces."""
