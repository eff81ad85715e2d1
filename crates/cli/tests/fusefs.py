"""A directory passed through FUSE by libfuse 2, whose rename knows no flags, that refuses operations as some file systems do.

usage: fusefs.py ROOT MOUNT OPERATION,OPERATION
"""
import errno
import os
import sys

from fuse import FUSE, FuseOSError, Operations

ROOT, MOUNT, REFUSED = sys.argv[1], sys.argv[2], sys.argv[3].split(",")


def at(path):
    return ROOT + path


def refuse(operation, code=errno.EPERM):
    if operation in REFUSED:
        raise FuseOSError(code)


class PassedThrough(Operations):
    flag_utime_omit_ok = True

    def access(self, path, mode):
        return 0

    def chmod(self, path, mode):
        refuse("chmod")
        os.chmod(at(path), mode)

    def utimens(self, path, times=None):
        refuse("utimens")
        os.utime(at(path), (times[1], times[1]))

    def link(self, target, name):
        refuse("link")
        os.link(at(name), at(target))

    def fsyncdir(self, path, datasync, handle):
        refuse("fsyncdir", errno.EINVAL)
        return 0

    def getattr(self, path, handle=None):
        try:
            found = os.lstat(at(path))
        except OSError as error:
            raise FuseOSError(error.errno)
        return {key: getattr(found, key) for key in dir(found) if key.startswith("st_")}

    def readdir(self, path, handle):
        return [".", ".."] + os.listdir(at(path))

    def mkdir(self, path, mode):
        os.mkdir(at(path), mode)

    def rmdir(self, path):
        os.rmdir(at(path))

    def unlink(self, path):
        os.unlink(at(path))

    def rename(self, old, new):
        os.rename(at(old), at(new))

    def statfs(self, path):
        found = os.statvfs(ROOT)
        return {key: getattr(found, key) for key in dir(found) if key.startswith("f_") and key != "f_fsid"}

    def open(self, path, flags):
        return os.open(at(path), flags)

    def create(self, path, mode, info=None):
        return os.open(at(path), os.O_RDWR | os.O_CREAT | os.O_TRUNC, mode)

    def read(self, path, size, offset, handle):
        return os.pread(handle, size, offset)

    def write(self, path, data, offset, handle):
        return os.pwrite(handle, data, offset)

    def truncate(self, path, length, handle=None):
        os.truncate(at(path), length)

    def flush(self, path, handle):
        return 0

    def release(self, path, handle):
        os.close(handle)

    def fsync(self, path, datasync, handle):
        os.fsync(handle)


FUSE(PassedThrough(), MOUNT, foreground=True, nothreads=True, attr_timeout=0, entry_timeout=0)
