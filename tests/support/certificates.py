"""A throwaway authority, and what it signs, as PEM files."""

import attrs
import trustme


@attrs.frozen
class Files:
    """Paths of PEM files: the authority, a certificate that it signed (with its chain), and the certificate's key."""

    ca: str
    cert: str
    key: str


def certificate_files(folder, name="127.0.0.1", key_type=trustme.KeyType.ECDSA):
    """Make an authority and a certificate for a name or an address, and write them to files in a folder."""
    authority = trustme.CA()
    issued = authority.issue_cert(name, key_type=key_type)
    files = Files(*(str(folder / f"{part}.pem") for part in ("ca", "cert", "key")))
    authority.cert_pem.write_to_path(files.ca)
    issued.private_key_pem.write_to_path(files.key)
    for number, part in enumerate(issued.cert_chain_pems):
        part.write_to_path(files.cert, append=number > 0)
    return files
