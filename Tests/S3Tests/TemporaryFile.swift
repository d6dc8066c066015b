import Basics
import Glibc
import ObjectStore
import SystemPackage

/// A body from a nameless file with these bytes.
func temporaryFile(_ bytes: [UInt8], offset: UInt64 = 0, length: UInt64? = nil) throws(ObjectStoreError) -> ObjectBody {
  var name = Array("/tmp/waysfs-body-XXXXXX".utf8CString)
  let descriptor = mkstemp(&name)
  unlink(name)
  let written = bytes.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
  guard descriptor >= 0, written == bytes.count else { throw ObjectStoreError(.localReadFailed, "no test file") }
  return .file(
    SharedDescriptor(owning: FileDescriptor(rawValue: descriptor)), offset: offset,
    length: length ?? UInt64(bytes.count))
}
