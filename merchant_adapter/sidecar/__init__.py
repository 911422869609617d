"""The sidecar: local HTTP/JSON in front of an outbox and a hub, for a mall written in anything."""
