import CLinux
import Glibc
import SystemPackage
import Testing

@testable import FuseSession

@Suite struct ExtendedAttributeTests {
  /// The value as text; the errno where there is none.
  private func attribute(_ name: String, of path: String, room: Int = 100) -> Result<String, Errno> {
    var bytes = [UInt8](repeating: 0, count: max(1, room))
    let length = clinux_get_attribute(path, name, &bytes, room)
    guard length >= 0 else { return .failure(Errno(rawValue: errno)) }
    return .success(room == 0 ? "\(length)" : String(decoding: bytes.prefix(length), as: UTF8.self))
  }

  @Test func ownNamesAreAskedForAndOthersAreNot() throws {
    let filesystem = FakeFilesystem()
    filesystem.add("file")
    let metrics = OperationMetrics()
    try withMount(filesystem, metrics: metrics) { (mount) throws in
      let path = mount.at("file")
      #expect(attribute("user.waysfs.state", of: path) == .success("value of user.waysfs.state"))
      #expect(attribute("user.waysfs.state", of: path, room: 0) == .success("26"))
      #expect(attribute("user.waysfs.state", of: path, room: 5) == .failure(Errno(rawValue: Glibc.ERANGE)))
      #expect(attribute("user.waysfs.missing", of: path) == .failure(Errno(rawValue: Glibc.ENODATA)))
      #expect(metrics.histograms[.getxattr]?.count == 4)
      for name in ["user.other", "security.capability", "user.waysfs"] {
        #expect(attribute(name, of: path) == .failure(.notSupported), "\(name)")
      }
      // After refusals of all kinds they still work: the kernel has not given up asking.
      #expect(attribute("user.waysfs.state", of: path) == .success("value of user.waysfs.state"))
      #expect(metrics.histograms[.getxattr]?.count == 5)
      let file = try openFile(path, O_RDWR)
      #expect(clinux_set_attribute(file.rawValue, "user.waysfs.state", "x", 1) == EOPNOTSUPP)
      try file.close()
    }
  }
}
