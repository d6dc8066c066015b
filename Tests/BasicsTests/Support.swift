import Glibc

/// Waits until the thread with that name sleeps in the kernel: what it does next, it cannot do by itself.
func waitUntilBlocked(_ name: String) {
  while true {
    if threads(named: name).contains(where: { state(of: $0) == "S" }) { return }
    sched_yield()
  }
}

private func threads(named name: String) -> [String] {
  guard let directory = opendir("/proc/self/task") else { return [] }
  defer { closedir(directory) }
  var found: [String] = []
  while let entry = readdir(directory) {
    let id = withUnsafePointer(to: &entry.pointee.d_name) {
      $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
    }
    if text(of: "/proc/self/task/\(id)/comm") == name + "\n" { found.append(id) }
  }
  return found
}

private func state(of thread: String) -> Character? {
  let line = text(of: "/proc/self/task/\(thread)/stat")
  return line.lastIndex(of: ")").map { line[$0...].dropFirst(2).first ?? "?" }
}

func text(of path: String) -> String {
  let file = open(path, O_RDONLY | O_CLOEXEC)
  guard file >= 0 else { return "" }
  defer { close(file) }
  var bytes = [UInt8](repeating: 0, count: 4096)
  let count = read(file, &bytes, bytes.count)
  return String(decoding: bytes.prefix(max(0, count)), as: UTF8.self)
}
