// The words of the pages, in English and Chinese.

const WORDS = {
  // Player.
  player: ['Player', '播放器'],
  play: ['Play', '播放'],
  pause: ['Pause', '暂停'],
  sound_on: ['Sound on', '打开声音'],
  sound_off: ['Sound off', '关闭声音'],
  full_screen: ['Full screen', '全屏'],
  statistics: ['Statistics', '统计'],
  delay: ['{0} ms buffered', '缓冲 {0} 毫秒'],
  idle: ['Paused', '已暂停'],
  connecting: ['Connecting …', '正在连接……'],
  playing: ['Playing', '正在播放'],
  waiting: ['Waiting for data …', '正在等待数据……'],
  ended: ['The connection has ended. Trying again …', '连接已断开，正在重试……'],
  not_live: ['Not live now. Waiting for the stream …', '当前没有直播，正在等待……'],
  no_answer: ['The server does not answer. Trying again …', '服务器没有响应，正在重试……'],
  server_full: ['The server accepts no new players now. Trying again …', '服务器暂不接受新的播放，正在重试……'],
  failed: ['The server refused. Trying again …', '服务器拒绝了请求，正在重试……'],
  refused: ['Not allowed', '没有权限'],
  not_allowed: ['You may not play this stream.', '您没有播放此流的权限。'],
  unsupported: ['This browser cannot play it', '此浏览器无法播放'],
  codec: ['This browser cannot play the codecs of this stream.', '此浏览器不支持该流的编码格式。'],
  no_mse: ['This browser can play none of the forms.', '此浏览器不支持任何播放方式。'],
  form: ['Form', '方式'],
  form_websocket: ['{0} WebSocket', '{0} WebSocket'],
  form_http: ['{0} HTTP', '{0} HTTP'],
  form_hls: ['HLS, by the browser', 'HLS（浏览器自带）'],
  form_webrtc: ['WebRTC', 'WebRTC'],
  codecs: ['Codecs', '编码'],
  picture: ['Picture', '画面'],
  frame_rate: ['Frame rate', '帧率'],
  bit_rate: ['Bit rate', '码率'],
  frames_shown: ['Frames shown', '已显示帧'],
  frames_dropped: ['Frames dropped by the browser', '浏览器丢弃的帧'],
  buffer: ['Buffered', '缓冲'],
  speed: ['Speed', '速度'],
  stalls: ['Stalls', '卡顿'],
  skips: ['Skips', '跳跃'],
  connections_made: ['Connections made', '连接次数'],
  seconds_of: ['{0} s (wants {1} s)', '{0} 秒（目标 {1} 秒）'],
  fps: ['{0} fps', '{0} 帧/秒'],
  kbps: ['{0} kb/s', '{0} kb/s'],
  mbps: ['{0} Mb/s', '{0} Mb/s'],
  watch_title: ['{0} – live', '{0} – 直播'],
  no_name: ['The address names no stream. It is /watch/APP/STREAM.', '地址中没有流的名称，格式为 /watch/APP/STREAM。'],

  // Calls.
  call_title: ['{0} – call', '{0} – 通话'],
  call_about: [
    'This address opens the room. Give it to the people that you want to talk to.',
    '此地址可打开房间，请把它发给要通话的人。',
  ],
  room: ['Room', '房间'],
  to_room: ['To the room', '进入房间'],
  your_name: ['Your name', '您的名字'],
  join: ['Join', '加入'],
  leave: ['Leave', '离开'],
  microphone_on: ['Microphone on', '打开麦克风'],
  microphone_off: ['Microphone off', '关闭麦克风'],
  camera_on: ['Camera on', '打开摄像头'],
  camera_off: ['Camera off', '关闭摄像头'],
  guest: ['Guest', '访客'],
  you: ['{0} (you)', '{0}（您）'],
  call_insecure: [
    'Browsers give a page the camera and the microphone only over HTTPS, or on the machine itself '
      + '(http://localhost). This page came by plain HTTP: open it by HTTPS.',
    '浏览器只允许通过 HTTPS 或在本机（http://localhost）打开的页面使用摄像头和麦克风。此页面是通过 HTTP 打开的，请改用 HTTPS。',
  ],
  call_no_webrtc: ['This browser has no WebRTC.', '此浏览器不支持 WebRTC。'],
  call_no_devices: [
    'There is no camera and no microphone, or this page may not use them.',
    '没有可用的摄像头和麦克风，或此页面无权使用。',
  ],
  call_joining: ['Joining …', '正在加入……'],
  call_alone: ['No other person is here yet.', '目前还没有其他人。'],
  call_lost: ['The connection has ended. Joining again …', '连接已断开，正在重新加入……'],
  call_unreachable: [
    'No packets come through to the server: its port for WebRTC (UDP 8000) must be open. Trying again …',
    '数据包无法到达服务器：必须开放其 WebRTC 端口（UDP 8000）。正在重试……',
  ],
  call_full: ['The room is full, or the server accepts no more now. Trying again …', '房间已满或服务器暂不接受，正在重试……'],
  call_off: ['There are no rooms on this server (rtc.rooms).', '此服务器未开放房间（rtc.rooms）。'],
  call_refused: ['You may not publish in this room.', '您没有在此房间发布的权限。'],
  call_codec: ['This browser has no codec that the server takes.', '此浏览器没有服务器支持的编码格式。'],

  // Frame of the console.
  console: ['Console', '控制台'],
  skip: ['Skip to the content', '跳到正文'],
  streams: ['Streams', '流'],
  clients: ['Connections', '连接'],
  relays: ['Relays', '转发与集群'],
  closes: ['Closed', '断开记录'],
  settings: ['Configuration', '配置'],
  server: ['Server', '服务器'],
  views: ['Views', '页面'],
  language: ['Language', '语言'],
  theme: ['Colours', '配色'],
  theme_: ['Auto', '自动'],
  theme_light: ['Light', '浅色'],
  theme_dark: ['Dark', '深色'],
  sign_out: ['Sign out', '退出'],
  health_ok: ['OK', '正常'],
  health_degraded: ['Something is wrong', '有异常'],
  health_draining: ['Draining', '正在下线'],
  health_stopping: ['Stopping', '正在停止'],
  lost: ['The server does not answer. Trying again …', '服务器没有响应，正在重试……'],
  offline: ['No connection', '未连接'],

  // Signing in.
  sign_in: ['Sign in', '登录'],
  sign_in_about: [
    'With the token of the API (api.token), or with user and password (api.user, api.password).',
    '使用 API 令牌（api.token），或用户名和密码（api.user、api.password）。',
  ],
  token: ['Token', '令牌'],
  user: ['User', '用户名'],
  password: ['Password', '密码'],
  by_token: ['Token', '令牌'],
  by_user: ['User and password', '用户名和密码'],
  kept: ['It is kept until this tab is closed.', '仅保存到此标签页关闭为止。'],
  wrong: ['These credentials are wrong.', '凭据不正确。'],
  no_api: ['The API is not served on this address', '此地址不提供 API'],
  no_api_about: [
    'The console shows what the API gives. On this address it is served only with credentials. Add this to the '
      + 'configuration, and start the server again:',
    '控制台显示 API 提供的内容。只有设置了凭据，此地址才提供 API。请在配置中加入以下内容，然后重新启动服务器：',
  ],

  // Numbers.
  uptime: ['Uptime', '运行时间'],
  players: ['Players', '播放'],
  publishers: ['Publishers', '推流'],
  received: ['In', '入'],
  merge_window: ['Frames wait up to', '帧最多等待'],
  sent: ['Out', '出'],
  cpu: ['CPU', 'CPU'],
  memory: ['Memory', '内存'],
  stream_memory: ['Memory of streams', '流的内存'],
  connections: ['Connections', '连接'],
  days: ['{0} d {1} h', '{0} 天 {1} 小时'],
  hours: ['{0} h {1} min', '{0} 小时 {1} 分'],
  minutes: ['{0} min {1} s', '{0} 分 {1} 秒'],
  seconds: ['{0} s', '{0} 秒'],
  ago: ['{0} ago', '{0}前'],
  of: ['{0} of {1}', '{0} / {1}'],

  // Streams.
  filter: ['Filter by name', '按名称筛选'],
  filter_closes: ['Filter', '筛选'],
  none_streams: ['No stream is live. Publish one, for example:', '当前没有流。可以这样推流：'],
  none_found: ['Nothing has this in its name.', '没有匹配的内容。'],
  none: ['None', '无'],
  take_picture: ['Take picture', '抓取画面'],
  no_picture: ['No picture came', '未取到画面'],
  taking: ['Waiting for a picture …', '正在取画面……'],
  picture_of: ['Picture of {0}', '{0} 的画面'],
  open: ['Open', '打开'],
  not_published: ['Waits for a publisher', '等待推流'],
  fallback: ['Plays its fallback', '正在播放备用内容'],
  has_backup: ['Backup stands by', '备用推流就绪'],
  keyless: ['No key frame', '没有关键帧'],
  silent: ['Silent for {0}', '已 {0} 没有数据'],
  audio_only: ['No video', '无视频'],
  video_only: ['No audio', '无音频'],
  video: ['Video', '视频'],
  audio: ['Audio', '音频'],
  gop: ['Key frame distance', '关键帧间隔'],
  drops: ['Dropped frames', '丢帧'],
  network: ['Network', '网络'],
  milliseconds: ['{0} ms', '{0} 毫秒'],
  percent: ['{0} %', '{0}%'],
  jitter: ['jitter {0} ms', '抖动 {0} 毫秒'],
  nacks: ['{0} packets asked for again', '请求重传 {0} 个包'],
  keys_wanted: ['{0} key frames asked for', '请求关键帧 {0} 次'],
  estimate: ['could receive {0}', '估计可接收 {0}'],
  lag: ['Slowest player behind', '最慢播放落后'],
  frames: ['{0} frames', '{0} 帧'],
  back: ['All streams', '所有流'],
  gone: ['This stream is not there any more.', '此流已不存在。'],
  watch_page: ['Page to send to viewers', '可分享的播放页面'],
  url_play: ['Address for players', '播放地址'],
  remove_publisher: ['Remove the publisher', '移除推流'],
  remove_publisher_ask: [
    'Close the connection that publishes {0}? The encoder may connect again.',
    '断开正在推送 {0} 的连接？编码器可能会重新连接。',
  ],
  bit_rate_of: ['Bit rate of the last minutes, now {0}', '最近几分钟的码率，当前 {0}'],
  bit_rate_time: ['Bit rate over time', '码率变化'],
  facts: ['Facts', '信息'],
  switches: ['Switches to the backup', '切换到备用的次数'],
  jumps: ['Jumps of time', '时间戳跳变'],
  application: ['Application', '应用'],
  vhost: ['Virtual host', '虚拟主机'],
  start_player: ['Start the player', '开始播放'],
  stop_player: ['Stop the player', '停止播放'],

  // Connections.
  role: ['Role', '角色'],
  role_publisher: ['Publisher', '推流'],
  role_backup: ['Backup', '备用推流'],
  role_player: ['Player', '播放'],
  role_: ['None yet', '未定'],
  stream: ['Stream', '流'],
  address: ['Address', '地址'],
  program: ['Program', '程序'],
  since: ['Since', '时长'],
  remove: ['Remove', '移除'],
  remove_client: ['Remove {0}', '移除 {0}'],
  remove_client_ask: ['Close the connection of {0}? It may connect again.', '断开 {0} 的连接？对方可能会重新连接。'],
  page: ['{0} to {1} of {2}', '第 {0} 至 {1} 条，共 {2} 条'],
  previous: ['Previous', '上一页'],
  next: ['Next', '下一页'],
  cancel: ['Cancel', '取消'],
  do_remove: ['Close the connection', '断开连接'],
  removed: ['The connection of {0} is closed.', '已断开 {0}。'],
  failed_with: ['It failed: {0}', '失败：{0}'],

  // Relays and the cluster.
  pushes: ['Pushes', '推送'],
  pulls: ['Pulls and edge', '拉流与边缘'],
  none_pushes: ['No stream is pushed to another server.', '没有向其他服务器推送的流。'],
  none_pulls: ['Nothing is pulled from another server.', '没有从其他服务器拉取的流。'],
  target: ['Target', '目标'],
  state: ['State', '状态'],
  attempts: ['Attempts', '尝试次数'],
  last_error: ['Last error', '最近的错误'],
  end_push: ['End', '结束'],
  end_push_of: ['End the push of {0} to {1}', '结束 {0} 到 {1} 的推送'],
  end_push_ask: ['End the push of {0} to {1}?', '结束 {0} 到 {1} 的推送？'],
  push_ended: ['The push has ended.', '推送已结束。'],
  add_push: ['Add a push', '添加推送'],
  push_url: ['Target, rtmp:// or rtmps://', '目标，rtmp:// 或 rtmps://'],
  push_stream: ['Stream, such as live/cam', '流，例如 live/cam'],
  push_added: ['The push has begun. It lasts until the server ends.', '推送已开始，持续到服务器结束。'],
  state_idle: ['Idle', '空闲'],
  state_connecting: ['Connecting', '正在连接'],
  state_silent: ['Connected, no frame yet', '已连接，无数据'],
  state_live: ['Live', '正常'],
  state_lagging: ['Behind', '落后'],
  state_waiting: ['Waits to try again', '等待重试'],
  state_refused: ['Refused', '被拒绝'],
  state_ending: ['Ending', '正在结束'],
  state_unused: ['Not called yet', '尚未调用'],
  state_ok: ['OK', '正常'],
  state_failing: ['Failing', '失败'],
  state_starting: ['Starting', '正在启动'],
  state_running: ['Running', '正在运行'],
  state_over: ['Over', '已结束'],
  kind_push: ['Push', '推送'],
  kind_pull: ['Pull', '拉流'],
  kind_upward: ['Publish at the origin', '推到源站'],
  kind_traverse: ['Question to the origin', '询问源站'],
  next_try: ['tries again in {0}', '{0}后重试'],
  cluster: ['Cluster', '集群'],
  cluster_off: ['This server stands alone.', '此服务器未加入集群。'],
  cluster_connected: ['The directory answers', '目录正常'],
  cluster_lost: ['The directory does not answer', '目录没有响应'],
  directory: ['Directory', '目录'],
  node: ['Server', '服务器'],
  version: ['Version', '版本'],
  this_server: ['this server', '本机'],
  accepts: ['Accepts clients', '接受客户端'],
  leases: ['Names of streams here', '本机的流名称'],

  // Closed connections.
  closes_about: ['The connections that ended last, the newest first.', '最近断开的连接，最新的在前。'],
  none_closes: ['No connection has ended yet.', '还没有连接断开。'],
  time: ['Time', '时间'],
  reason: ['Reason', '原因'],
  lasted: ['Lasted', '持续'],
  data: ['In / out', '入 / 出'],
  refused_request: ['{0} refused', '{0} 被拒绝'],

  // Configuration.
  settings_about: [
    'What is in force, each value with its origin. Secrets are masked.',
    '当前生效的配置及其来源。机密内容已隐藏。',
  ],
  only_set: ['Only what is not a default', '只显示非默认值'],
  key: ['Key', '键'],
  value: ['Value', '值'],
  origin: ['Origin', '来源'],
  reload: ['Read the configuration again', '重新读取配置'],
  reloaded: ['Read again. Changed: {0}', '已重新读取。有变化：{0}'],
  nothing: ['nothing', '无'],
  all_default: ['Everything has its default.', '全部为默认值。'],

  // Server.
  health: ['Health', '健康状况'],
  all_well: ['Nothing is wrong.', '一切正常。'],
  drain: ['Drain', '下线'],
  drain_about: [
    'The server grants nothing new, asks clients to connect again elsewhere, and closes the rest later.',
    '服务器不再接受新请求，要求客户端重新连接到别处，并稍后断开其余连接。',
  ],
  drain_seconds: ['Close the rest after seconds', '多少秒后断开其余连接'],
  drain_url: ['Where clients should go (optional)', '客户端应前往的地址（可选）'],
  drain_begin: ['Begin to drain', '开始下线'],
  drain_ask: ['Take this server out of service?', '让此服务器下线？'],
  drain_undo: ['Accept new clients again', '重新接受客户端'],
  drain_state: ['{0} connections are open. {1} s left.', '还有 {0} 个连接，剩余 {1} 秒。'],
  drain_begun: ['The server drains.', '服务器正在下线。'],
  drain_undone: ['The server accepts new clients again.', '服务器已重新接受客户端。'],
  recordings: ['Recordings', '录制'],
  recording_recording: ['Recording', '正在录制'],
  recording_waiting: ['Waits for frames', '等待数据'],
  recording_failing: ['Failing', '失败'],
  recording_complete: ['Complete', '已完成'],
  recording_failed: ['Failed', '失败'],
  none_recordings: ['Nothing is being recorded.', '没有正在进行的录制。'],
  file: ['File', '文件'],
  size: ['Size', '大小'],
  hooks: ['Hooks', '回调'],
  none_hooks: ['No hooks are set.', '没有设置回调。'],
  runs: ['Programs', '程序'],
  none_runs: ['No programs run.', '没有运行中的程序。'],
  about: ['About', '关于'],
  process: ['Process', '进程'],
  load: ['Load of the machine', '系统负载'],
};

const LANGUAGES = ['en', 'zh'];
const STORED = 'anabranch.language';

function chosen() {
  const stored = localStorage.getItem(STORED);
  if (LANGUAGES.includes(stored)) {
    return stored;
  }
  return navigator.languages.map((tag) => tag.slice(0, 2)).find((tag) => LANGUAGES.includes(tag)) ?? 'en';
}

let language = chosen();
document.documentElement.lang = language;

export function currentLanguage() {
  return language;
}

/** Chooses a language; what is shown afterwards has it. */
export function speak(tag) {
  language = tag;
  localStorage.setItem(STORED, tag);
  document.documentElement.lang = tag;
  translate(document.body);
}

/** The words for a key; an unknown key is shown as it is, such as a state that a newer server has. */
export function t(key, ...values) {
  const words = WORDS[key]?.[LANGUAGES.indexOf(language)] ?? key;
  return words.replace(/\{(\d)\}/g, (_, index) => values[index] ?? '');
}

export const isKnown = (key) => Object.hasOwn(WORDS, key);

/** Puts the words of the language into all elements that name a key. */
export function translate(root) {
  for (const element of root.querySelectorAll('[data-t]')) {
    element.textContent = t(element.dataset.t);
  }
  for (const element of root.querySelectorAll('[data-t-label]')) {
    element.setAttribute('aria-label', t(element.dataset.tLabel));
  }
}
