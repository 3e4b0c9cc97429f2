"""Takes the roles out of a package of PyPI or npm: DOWNLOAD, the folder to make."""

import glob
import os
import shutil
import sys
import tarfile
import zipfile

download, target = sys.argv[1:]
(package,) = glob.glob(f"{download}/*.*")
# Within that folder, and with dots in its name: it must not be there before.
os.mkdir(target)
if package.endswith(".whl"):
    archive = zipfile.ZipFile(package)
    members = [name for name in archive.namelist() if not name.endswith("/")]
    opened = archive.open
else:
    archive = tarfile.open(package)
    members = [member.name for member in archive.getmembers() if member.isfile()]
    opened = archive.extractfile
for name in members:
    if "/roles/" in name:
        place = os.path.join(target, os.path.normpath("/" + name)[1:])
        os.makedirs(os.path.dirname(place), exist_ok=True)
        with opened(name) as source, open(place, "wb") as file:
            shutil.copyfileobj(source, file)
