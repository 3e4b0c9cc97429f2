"""Takes collections out of a package: DOWNLOAD, the folder to make, and the collections' paths."""

import glob
import sys
import zipfile

download, target, *wanted = sys.argv[1:]
(package,) = glob.glob(f"{download}/*.whl")
archive = zipfile.ZipFile(package)
for info in archive.infolist():
    _, found, inside = info.filename.partition("ansible_collections/")
    if found and inside.startswith(tuple(f"{collection}/" for collection in wanted)):
        info.filename = found + inside
        archive.extract(info, target)
