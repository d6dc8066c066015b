import Glibc

// Calls and constants of Linux that Swift's Glibc module does not show.

let seekData: Int32 = 3
let seekHole: Int32 = 4
let directIO: Int32 = 0o40000
let timeNow = (1 << 30) - 1
let timeOmitted = (1 << 30) - 2

func renameat2(_ from: String, _ to: String, _ flags: UInt32) -> Int32 {
  typealias Call = @convention(c) (Int32, UnsafePointer<CChar>, Int32, UnsafePointer<CChar>, UInt32) -> Int32
  return function("renameat2", Call.self)(AT_FDCWD, from, AT_FDCWD, to, flags)
}

func fallocate(_ descriptor: Int32, _ length: Int) -> Int32 {
  typealias Call = @convention(c) (Int32, Int32, Int, Int) -> Int32
  return function("fallocate", Call.self)(descriptor, 0, 0, length)
}

func getxattr(_ path: String, _ name: String) -> Int {
  typealias Call = @convention(c) (UnsafePointer<CChar>, UnsafePointer<CChar>, UnsafeMutableRawPointer?, Int) -> Int
  return function("getxattr", Call.self)(path, name, nil, 0)
}

func setxattr(_ path: String, _ name: String, _ value: String) -> Int32 {
  typealias Call =
    @convention(c) (UnsafePointer<CChar>, UnsafePointer<CChar>, UnsafeRawPointer, Int, Int32) -> Int32
  return function("setxattr", Call.self)(path, name, value, value.utf8.count, 0)
}

private func function<Call>(_ name: String, _ type: Call.Type) -> Call {
  unsafeBitCast(dlsym(UnsafeMutableRawPointer(bitPattern: 0), name), to: Call.self)
}
