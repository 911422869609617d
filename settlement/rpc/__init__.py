"""Settlement on the wire, where TLS 1.3 alone is spoken."""

import os

# Here, because gRPC reads it when it is first imported, and every module that imports it is below. gRPC for Python
# has no setting for a lowest version, but it reads the TLS 1.2 cipher suites from the environment; the one named
# here needs a pre-shared key that nobody has, so TLS 1.2 cannot be agreed on.
os.environ["GRPC_SSL_CIPHER_SUITES"] = "ECDHE-PSK-AES128-CBC-SHA"
