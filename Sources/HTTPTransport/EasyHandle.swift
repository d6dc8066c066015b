import CCurl

/// A libcurl easy handle with the memory it needs beside it. Used on the event thread only.
final class EasyHandle {
  let raw: UnsafeMutableRawPointer
  private let errorText: UnsafeMutablePointer<CChar>
  private var headers: UnsafeMutablePointer<curl_slist>?
  private var failure = CURLE_OK

  /// Nil when there is no memory.
  init?() {
    guard let raw = curl_easy_init() else { return nil }
    self.raw = raw
    errorText = .allocate(capacity: Int(ccurl_error_size))
    errorText.initialize(repeating: 0, count: Int(ccurl_error_size))
  }

  deinit {
    curl_easy_cleanup(raw)
    curl_slist_free_all(headers)
    errorText.deallocate()
  }

  /// What libcurl said about the last failure; empty when nothing.
  var errorMessage: String { String(cString: errorText) }

  /// How many bytes of bodies have been sent and received so far.
  var bytesMoved: Int64 { offset(CURLINFO_SIZE_DOWNLOAD_T) + offset(CURLINFO_SIZE_UPLOAD_T) }

  func offset(_ info: CURLINFO) -> Int64 {
    var value: Int64 = 0
    ccurl_get_offset(raw, info, &value)
    return value
  }

  /// Forgets the last transfer, but for its connection.
  func reset() {
    curl_easy_reset(raw)
    curl_slist_free_all(headers)
    headers = nil
    failure = CURLE_OK
    errorText.initialize(repeating: 0, count: Int(ccurl_error_size))
    set(CURLOPT_ERRORBUFFER, pointer: errorText)
  }

  /// The first failure of a `set` since the last `reset`.
  var firstFailure: CURLcode { failure }

  func set(_ option: CURLoption, _ value: Int) { note(ccurl_set_long(raw, option, value)) }
  func set(_ option: CURLoption, _ value: Bool) { note(ccurl_set_long(raw, option, value ? 1 : 0)) }
  func set(_ option: CURLoption, offset: UInt64) { note(ccurl_set_offset(raw, option, Int64(clamping: offset))) }
  func set(_ option: CURLoption, _ value: String?) { note(ccurl_set_string(raw, option, value)) }
  func set(_ option: CURLoption, pointer: UnsafeRawPointer?) { note(ccurl_set_pointer(raw, option, pointer)) }
  func set(_ option: CURLoption, _ function: ccurl_transfer_function) {
    note(ccurl_set_function(raw, option, function))
  }
  func setPrerequest(_ function: ccurl_prereq_function, _ context: UnsafeMutableRawPointer) {
    note(ccurl_set_prereq(raw, function, context))
  }

  /// Bounds what waits in the kernel to be sent, for connections that this transfer makes.
  func set(unsentBytes: Int32) { note(ccurl_set_unsent_bound(raw, unsentBytes)) }

  /// Sets the header lines, in libcurl's form.
  func set(headerLines: [String]) {
    for line in headerLines {
      guard let longer = curl_slist_append(headers, line) else { return note(CURLE_OUT_OF_MEMORY) }
      headers = longer
    }
    note(ccurl_set_list(raw, CURLOPT_HTTPHEADER, headers))
  }

  private func note(_ code: CURLcode) {
    if failure == CURLE_OK { failure = code }
  }
}
