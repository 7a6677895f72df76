// SPDX-License-Identifier: BSD-3-Clause
// A library to preload: makes the Nth call of the operating system on files below BRAZEN_FAULT_ROOT fail, or end the
// process.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/types.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace {

constexpr int kMostDescriptors = 4096;

// Once: that call alone. After: that one and all later ones. Short: of the writes alone, one takes half of the bytes;
// with After the later ones take none. Kill: the process ends there.
enum Mode { kOnce = 1, kAfter = 2, kShort = 4, kKill = 8 };

std::atomic<int> count{0};
std::atomic<int> chosen{0};
int mode = 0, error_number = 0;
std::atomic<bool> watched[kMostDescriptors];

template <class Function>
Function original(Function, const char* name) {
  return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

bool below_root(const char* path) {
  static const char* root = std::getenv("BRAZEN_FAULT_ROOT");
  return root && path && !std::strncmp(path, root, std::strlen(root));
}

bool is_watched(int descriptor) { return descriptor >= 0 && descriptor < kMostDescriptors && watched[descriptor]; }

void watch(int descriptor, bool on) {
  if (descriptor >= 0 && descriptor < kMostDescriptors) watched[descriptor] = on;
}

// Whether this call is to fail; counts it.
bool fails(bool applies) {
  if (!applies || !chosen || mode & kShort) return false;
  const int now = ++count;
  const bool hit = mode & kAfter ? now >= chosen : now == chosen;
  if (hit && mode & kKill) kill(getpid(), SIGKILL);
  if (hit) errno = error_number;
  return hit;
}

}  // namespace

extern "C" {

// Begins to count; nth = 0 ends it. Returns the calls counted before.
int fault_arm(int nth, int error, int how) {
  const int before = count;
  chosen = 0;
  count = 0;
  mode = how;
  error_number = error;
  chosen = nth;
  return before;
}

int open64(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t permissions = flags & O_CREAT ? va_arg(arguments, mode_t) : 0;
  va_end(arguments);
  const bool applies = below_root(path);
  if (fails(applies)) return -1;
  const int made = original(&open64, "open64")(path, flags, permissions);
  watch(made, applies);
  return made;
}

int openat64(int directory, const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t permissions = flags & O_CREAT ? va_arg(arguments, mode_t) : 0;
  va_end(arguments);
  const bool applies = is_watched(directory) || below_root(path);
  if (fails(applies)) return -1;
  const int made = original(&openat64, "openat64")(directory, path, flags, permissions);
  watch(made, applies);
  return made;
}

int open(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t permissions = flags & O_CREAT ? va_arg(arguments, mode_t) : 0;
  va_end(arguments);
  return open64(path, flags, permissions);
}

int openat(int directory, const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t permissions = flags & O_CREAT ? va_arg(arguments, mode_t) : 0;
  va_end(arguments);
  return openat64(directory, path, flags, permissions);
}

ssize_t write(int descriptor, const void* data, size_t size) {
  const auto real = original(&write, "write");
  if (fails(is_watched(descriptor))) return -1;
  if (!is_watched(descriptor) || !chosen || !(mode & kShort)) return real(descriptor, data, size);
  const int now = ++count;
  if (now == chosen && size > 1) {
    const ssize_t written = real(descriptor, data, size / 2);
    if (mode & kKill) kill(getpid(), SIGKILL);
    return written;
  }
  if (mode & kAfter && now > chosen) {
    errno = error_number;
    return -1;
  }
  return real(descriptor, data, size);
}

int close(int descriptor) {
  const bool failed = fails(is_watched(descriptor));
  const int kept = errno;
  watch(descriptor, false);
  const int result = original(&close, "close")(descriptor);
  if (!failed) return result;
  errno = kept;
  return -1;
}

int fsync(int descriptor) { return fails(is_watched(descriptor)) ? -1 : original(&fsync, "fsync")(descriptor); }

off64_t lseek64(int descriptor, off64_t offset, int from) noexcept {
  return fails(is_watched(descriptor)) ? -1 : original(&lseek64, "lseek64")(descriptor, offset, from);
}

int rename(const char* from, const char* to) noexcept {
  return fails(below_root(from)) ? -1 : original(&rename, "rename")(from, to);
}

int mkdir(const char* path, mode_t permissions) noexcept {
  return fails(below_root(path)) ? -1 : original(&mkdir, "mkdir")(path, permissions);
}

int rmdir(const char* path) noexcept { return fails(below_root(path)) ? -1 : original(&rmdir, "rmdir")(path); }

int unlink(const char* path) noexcept { return fails(below_root(path)) ? -1 : original(&unlink, "unlink")(path); }

int unlinkat(int directory, const char* path, int flags) noexcept {
  return fails(is_watched(directory) || below_root(path)) ? -1
                                                          : original(&unlinkat, "unlinkat")(directory, path, flags);
}

DIR* opendir(const char* path) { return fails(below_root(path)) ? nullptr : original(&opendir, "opendir")(path); }

DIR* fdopendir(int descriptor) {
  return fails(is_watched(descriptor)) ? nullptr : original(&fdopendir, "fdopendir")(descriptor);
}
}
