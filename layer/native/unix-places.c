/*
 * Listening unix sockets under paths of the pod, in the sandbox only.
 *
 *   unix stream|seqpacket PATH              unix stream|seqpacket @NAME LENGTH
 *   unix-make stream|seqpacket, then in a batch: unix-cover PATH, then unix-forget
 *
 * Theory of operation. The path belongs to the pod; what is there here decides how the socket comes under it:
 *
 *   covered    something is there (a local daemon's socket): a mount over it
 *   held       nothing is there, but this user could make it: a place-holder, an empty file, is made on this
 *              machine, and covered. It is what the machine sees; directories on its way that are missing are
 *              made too. A tmpfs over the directory would do without, and swallow what the program writes
 *              there. All is removed at the end, by whoever is left (leavings.c)
 *   mirrored   this user may not make it: the nearest directory is covered by a tmpfs, with what it has
 *              mounted back, where the socket is made. Read-only, as the real one is for this user
 *
 * A socket that comes back after its server went takes the place of the old one. A closed one stays where it
 * is, and refuses. The answer is the word above; of a held one also how much of the path was there, for
 * mirrord to clean up should we be killed. An abstract name is of the network namespace alone, and needs none of this; `LENGTH`
 * counts the zero bytes that some servers pad it with.
 *
 * Under a path that mirrord serves by FUSE the pod's own socket is seen already, which nobody here can connect to: it
 * is covered, by a batch (batch.c), for to look at the path is to wait for mirrord.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "launcher.h"

/* As many as the layer asks for (layer/unix-streams). */
#define PLACES_MAX 128
#define BACKLOG 1024

enum how { COVERED, HELD, MIRRORED };
static const char *const how_names[] = {"covered", "held", "mirrored"};

static struct place {
  char *path;
  char *shown; /* the same without links: what a mount is named by */
  enum how how;
  size_t there; /* of a held one: how much of its path was there, bytes */
} places[PLACES_MAX];
static size_t place_count;

/* The file systems of our mirrors. */
static dev_t mirrors[PLACES_MAX];
static size_t mirror_count;

static struct place *find_place(const char *path) {
  for (size_t i = 0; i < place_count; i++)
    if (!strcmp(places[i].path, path)) return &places[i];
  return NULL;
}

static int is_mirror(const char *directory) {
  struct stat status;
  if (stat(directory, &status) < 0) return 0;
  for (size_t i = 0; i < mirror_count; i++)
    if (mirrors[i] == status.st_dev) return 1;
  return 0;
}

static int bind_at(int socket, const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(path) >= sizeof address.sun_path) return errno = ENAMETOOLONG, failed("bind");
  strcpy(address.sun_path, path);
  if (bind(socket, (struct sockaddr *)&address, sizeof address) < 0) return failed("bind");
  return chmod(path, 0777) < 0 ? failed("chmod") : 0;
}

/* The length of the longest part of a path that is a directory we may search. */
static size_t existing_part(const char *path) {
  char part[PATH_MAX];
  size_t length = 1;
  for (size_t i = 1; path[i]; i++) {
    if (path[i] != '/') continue;
    snprintf(part, sizeof part, "%.*s", (int)i, path);
    int fd = open(part, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) break;
    close(fd);
    length = i;
  }
  return length;
}

/* Makes one thing on this machine, to be removed at the end. */
static int make_held(const char *path, int is_directory) {
  int result = leave_no(path);
  if (result) return result;
  int fd = is_directory ? mkdir(path, 0755) : open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
  if (fd < 0) {
    result = failed(is_directory ? "mkdir" : "create");
    leave(path);
    return result;
  }
  leave_made();
  if (!is_directory) close(fd);
  return 0;
}

/* Makes the directories of a path that are missing, from `there` on; as place-holders, the file too. */
static int make_rest(const char *path, size_t there, int is_held) {
  char part[PATH_MAX];
  int result = 0;
  for (size_t i = there + 1; path[i] && !result; i++) {
    if (path[i] != '/' || path[i - 1] == '/') continue;
    snprintf(part, sizeof part, "%.*s", (int)i, path);
    if (is_held) result = make_held(part, 1);
    else if (mkdir(part, 0555) < 0 && errno != EEXIST) result = failed("mkdir");
  }
  return !result && is_held ? make_held(path, 0) : result;
}

static int mirror(const char *directory) {
  struct stat status;
  /* A mount over the root is seen by nobody who has it as their root already. */
  if (!strcmp(directory, "/")) return errno = EBUSY, failed("mirror /");
  if (mirror_count == PLACES_MAX) return errno = ENOSPC, failed("mirror");
  int result = show_mirror(directory);
  if (!result && stat(directory, &status) == 0) mirrors[mirror_count++] = status.st_dev;
  return result;
}

/* Makes a path where nothing is. */
static int make_room(const char *path, struct place *place) {
  char directory[PATH_MAX];
  size_t there = existing_part(path);
  snprintf(directory, sizeof directory, "%.*s", (int)there, path);
  if (!is_mirror(directory)) {
    int result = make_rest(path, there, 1);
    place->how = HELD;
    place->there = there;
    if (result != -EACCES && result != -EPERM && result != -EROFS) return result;
    if ((result = mirror(directory)) < 0) return result;
  }
  place->how = MIRRORED;
  return make_rest(path, existing_part(path), 0);
}

/* Where an open file is, without links. */
static char *place_name(int at) {
  char link[64], name[PATH_MAX];
  name_of(at, link, sizeof link);
  ssize_t n = readlink(link, name, sizeof name - 1);
  return n < 0 ? NULL : strndup(name, (size_t)n);
}

static int cover(const char *path, int socket, char **shown) {
  struct stat status;
  int at = open(path, O_PATH | O_CLOEXEC);
  if (at < 0) return failed("open");
  int result = fstat(at, &status) < 0 ? failed("fstat") : 0;
  if (!result && S_ISDIR(status.st_mode)) errno = EISDIR, result = failed("open");
  *shown = place_name(at);
  if (!result) result = show_socket(at, socket);
  close(at);
  return result;
}

static int replace(const struct place *known, int socket) {
  char *shown;
  if (known->how == MIRRORED) {
    unlink(known->path);
    return bind_at(socket, known->path);
  }
  umount2(known->shown, MNT_DETACH | UMOUNT_NOFOLLOW);
  int result = cover(known->path, socket, &shown);
  free(shown);
  return result;
}

static int place_socket(const char *path, int socket, struct place *place) {
  struct place *known = find_place(path);
  if (known) return *place = *known, replace(known, socket);
  if (strlen(path) >= PATH_MAX) return errno = ENAMETOOLONG, failed("unix");
  if (place_count == PLACES_MAX) return errno = ENOSPC, failed("unix");
  int at = open(path, O_PATH | O_CLOEXEC), result = 0;
  if (at >= 0) close(at);
  else if (errno == ENOENT || errno == EACCES) result = make_room(path, place);
  else result = failed("open");
  if (!result) result = place->how == MIRRORED ? bind_at(socket, path) : cover(path, socket, &place->shown);
  if (result) return free(place->shown), result;
  place->path = strdup(path);
  places[place_count++] = *place;
  return 0;
}

static int open_socket(const char *type) {
  return socket(AF_UNIX, (!strcmp(type, "seqpacket") ? SOCK_SEQPACKET : SOCK_STREAM) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

/* The last one that was made, for the batch that covers something with it. */
static int made_socket = -1;

/* As long as we have it, it listens. */
int forget_unix(void) {
  if (made_socket >= 0) close(made_socket);
  made_socket = -1;
  return 0;
}

int make_unix(const char *type, struct answer *a) {
  int fd = open_socket(type);
  if (fd < 0) return failed("socket");
  forget_unix();
  made_socket = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (made_socket < 0) return close(fd), failed("fcntl");
  a->fd = fd;
  return 0;
}

/* Covers what is at a path by the socket that was made last; what covered it before goes. */
int cover_with_unix(const char *path) {
  char *shown = NULL;
  umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW);
  int result = cover(path, made_socket, &shown);
  free(shown);
  return !result && listen(made_socket, BACKLOG) < 0 ? failed("listen") : result;
}

static int bind_abstract(int socket, const char *name, int length) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  size_t room = sizeof address.sun_path;
  if (length < 1 || (size_t)length > room || strlen(name) > (size_t)length) return errno = EINVAL, failed("bind");
  memcpy(address.sun_path, name, strlen(name));
  address.sun_path[0] = 0;
  socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)length);
  return bind(socket, (struct sockaddr *)&address, size) < 0 ? failed("bind") : 0;
}

int open_unix(char **args, int count, struct answer *a) {
  const char *name = args[1], *told = "abstract";
  struct place place = {NULL, NULL, COVERED, 0};
  int fd = open_socket(args[0]), result;
  if (fd < 0) return failed("socket");
  if (*name == '@') {
    result = bind_abstract(fd, name, count > 2 ? atoi(args[2]) : (int)strlen(name));
  } else {
    result = *name == '/' ? place_socket(name, fd, &place) : (errno = EINVAL, failed("unix"));
    told = how_names[place.how];
  }
  if (!result && listen(fd, BACKLOG) < 0) result = failed("listen");
  if (result) {
    close(fd);
    return result;
  }
  snprintf(a->text, sizeof a->text, "%s %zu", told, place.there);
  a->fd = fd;
  return 0;
}
