import Basics
import CCurl

// What libcurl calls on the event thread. The context is a Transfer that the event loop keeps alive as long as libcurl
// has it. File-scope functions, because a closure formed elsewhere may inherit an actor.

private func transfer(_ context: UnsafeMutableRawPointer?) -> Transfer? {
  context.map { Unmanaged<Transfer>.fromOpaque($0).takeUnretainedValue() }
}

// Any count but the one that was handed in makes libcurl give the transfer up.
private func refusal(of count: Int) -> Int { count == 0 ? 1 : 0 }

func receiveHeadLine(
  _ data: UnsafeMutablePointer<CChar>?, _ size: Int, _ count: Int, _ context: UnsafeMutableRawPointer?
) -> Int {
  let line = UnsafeRawBufferPointer(start: data, count: size * count)
  return transfer(context)?.receiveHeadLine(line) == true ? line.count : refusal(of: line.count)
}

func receiveBody(
  _ data: UnsafeMutablePointer<CChar>?, _ size: Int, _ count: Int, _ context: UnsafeMutableRawPointer?
) -> Int {
  let bytes = UnsafeRawBufferPointer(start: data, count: size * count)
  guard !bytes.isEmpty else { return 0 }
  return transfer(context)?.receiveBody(bytes) == true ? bytes.count : refusal(of: bytes.count)
}

func readUpload(
  _ data: UnsafeMutablePointer<CChar>?, _ size: Int, _ count: Int, _ context: UnsafeMutableRawPointer?
) -> Int {
  let buffer = UnsafeMutableRawBufferPointer(start: data, count: size * count)
  return transfer(context)?.readUpload(into: buffer) ?? ccurl_read_abort
}

func willSend(
  _ context: UnsafeMutableRawPointer?, _: UnsafeMutablePointer<CChar>?, _: UnsafeMutablePointer<CChar>?, _: Int32,
  _: Int32
) -> Int32 {
  transfer(context)?.willSend(now: TimeSource.system.monotonic) == true ? ccurl_prereq_ok : ccurl_prereq_abort
}
