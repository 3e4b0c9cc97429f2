"""Takes the roles out of a package: DOWNLOAD, the folder to make."""

import glob
import sys
import zipfile

download, target = sys.argv[1:]
(package,) = glob.glob(f"{download}/*.whl")
archive = zipfile.ZipFile(package)
for info in archive.infolist():
    if "/roles/" in info.filename:
        archive.extract(info, target)
