"""The panel's texts in both languages."""

from __future__ import annotations

# By a key: Russian, English.
TEXTS: dict[str, tuple[str, str]] = {
    # Where one is.
    "panel": ("Панель", "Panel"),
    "calls": ("Звонки", "Calls"),
    "hosts": ("АТС", "PBXs"),
    "enterprises": ("Предприятия", "Enterprises"),
    "requests": ("Запросы", "Requests"),
    "audit": ("Аудит", "Audit"),
    "services": ("Сервисы", "Services"),
    "back": ("Назад", "Back"),
    "close": ("Закрыть", "Close"),
    "cancel": ("Отмена", "Cancel"),
    "skip": ("К содержанию", "Skip to content"),
    # The log-in.
    "log_in": ("Войти", "Log in"),
    "log_out": ("Выйти", "Log out"),
    "token": ("Токен (ADMIN_TOKEN)", "Token (ADMIN_TOKEN)"),
    "log_in_hint": (
        "Токен задан в настройках сервиса. Вход действует 8 часов.",
        "The token is in the service's settings. A log-in lasts 8 hours.",
    ),
    "wrong_token": ("Неверный токен.", "Wrong token."),
    "too_many_tokens": (
        "Слишком много неверных токенов с этого адреса. Повторите через {seconds} с.",
        "Too many wrong tokens from this address. Try again in {seconds} s.",
    ),
    # What a request may be refused for.
    "error": ("Не получилось", "It did not work"),
    "refused_origin": (
        (
            "Запрос пришёл не со страницы панели. Откройте панель по https или на localhost и"
            " повторите."
        ),
        (
            "The request did not come from a page of the panel. Open the panel by https or on"
            " localhost, and try again."
        ),
    ),
    "refused_csrf": (
        "Страница устарела: вы вошли заново или вышли. Откройте её ещё раз и повторите.",
        "The page is out of date: you logged in anew, or out. Open it again, and try again.",
    ),
    "no_right": (
        (
            "Пользователь PostgreSQL сервиса не вправе это менять. Команды ./asterisk.sh делают"
            " то же от имени владельца базы; docs/security.md говорит, какие права дать панели."
        ),
        (
            "The service's PostgreSQL user may not change this. The commands of ./asterisk.sh do"
            " the same as the database's owner; docs/security.md tells which rights to give the"
            " panel."
        ),
    ),
    "no_database": ("База данных недоступна: {why}", "The database is unavailable: {why}"),
    "not_found": ("Этого нет (или уже нет).", "There is no such thing, or no more."),
    # Services.
    "port": ("Порт", "Port"),
    "health": ("процесс отвечает", "the process answers"),
    "ready": ("Звонки можно размещать", "Calls can be placed"),
    "not_ready": ("Звонки разместить нельзя", "Calls cannot be placed"),
    "pid": ("PID", "PID"),
    "uptime": ("Работает", "Uptime"),
    "memory": ("Память", "Memory"),
    "cpu": ("ЦП", "CPU"),
    "cpu_value": ("{percent} % ({seconds} с)", "{percent}% ({seconds} s)"),
    "version": ("Версия", "Version"),
    "workers": ("Рабочие процессы", "Workers"),
    "follows": ("Следит за звонками", "Follows calls"),
    "follows_itself": ("этот процесс", "this process"),
    "follows_other": ("другой процесс (ROLE=api)", "another process (ROLE=api)"),
    "followed_hosts": ("АТС под наблюдением: {count}", "PBXs followed now: {count}"),
    "unfollowed": ("Ни один процесс не следит за: {hosts}", "No process follows: {hosts}"),
    "restart": ("Перезапустить", "Restart"),
    "restart_ask": ("Перезапустить сервис?", "Restart the service?"),
    "restart_means": (
        (
            "Новый процесс примет порт, старый закончит начатое: ни один запрос не потеряется,"
            " звонки продолжаются. Если новый не запустится, останется старый. Настройки остаются"
            " прежними: новые берёт ./asterisk.sh restart."
        ),
        (
            "A new process takes the port over, the old one finishes what it has: no request is"
            " lost, calls go on. If the new one cannot start, the old one goes on. Settings stay"
            " what they are: new ones are taken by ./asterisk.sh restart."
        ),
    ),
    "restart_cannot": (
        (
            "Отсюда не перезапустить: сервис запущен не через ./asterisk.sh или systemd"
            " (deploy/serve.py)."
        ),
        (
            "It cannot be restarted from here: it was not started by ./asterisk.sh or systemd"
            " (deploy/serve.py)."
        ),
    ),
    "restart_no_schema": (
        "Не перезапущен: схема базы не обновляется: {why}",
        "Not restarted: the database's schema cannot be brought up to date: {why}",
    ),
    "restarting": ("Перезапускается… отвечает PID {pid}", "Restarting… PID {pid} answers"),
    "restarted": ("Перезапущен: отвечает PID {pid}", "Restarted: PID {pid} answers"),
    "restart_failed": (
        (
            "Новый процесс не запустился, работает старый (PID {pid}). Почему, говорит"
            " console.log или journalctl."
        ),
        (
            "The new process did not start, the old one goes on (PID {pid}). console.log or"
            " journalctl says why."
        ),
    ),
    # Calls.
    "no_calls": ("Сейчас звонков нет.", "There is no call now."),
    "monitors": ("Кто кого слушает", "Who listens to whom"),
    "no_monitors": ("Сейчас никто никого не слушает.", "Nobody listens to anybody now."),
    "enterprise": ("Предприятие", "Enterprise"),
    "who": ("Кто", "Who"),
    "whom": ("Кому", "To"),
    "supervisor": ("Кто слушает", "Listener"),
    "listened": ("Кого", "To whom"),
    "mode": ("Режим", "Mode"),
    "phase": ("Фаза", "Phase"),
    "since": ("Длится", "For"),
    "hang_up": ("Положить трубку", "Hang up"),
    "hang_up_ask": ("Завершить этот звонок?", "End this call?"),
    "hang_up_means": ("Разговор прервётся у обоих.", "Both sides are cut off."),
    "hung_up": ("Звонок завершён.", "The call was hung up."),
    "live": ("Обновляется само", "Updates by itself"),
    "stale": ("Нет связи с сервисом, повторяю…", "No answer from the service, trying again…"),
    "phase_placing": ("размещается", "being placed"),
    "phase_unknown": ("исход неизвестен", "outcome unknown"),
    "phase_accepted": ("принят АТС", "accepted by the PBX"),
    "phase_agent_ringing": ("звонит у сотрудника", "agent rings"),
    "phase_agent_answered": ("сотрудник ответил", "agent answered"),
    "phase_customer_ringing": ("звонит у клиента", "customer rings"),
    "phase_talking": ("разговор", "talking"),
    "phase_ended": ("завершён", "ended"),
    "reason_answered": ("поговорили", "answered"),
    "reason_busy": ("занято", "busy"),
    "reason_no_answer": ("не ответил", "no answer"),
    "reason_agent_busy": ("сотрудник занят", "agent busy"),
    "reason_agent_no_answer": ("сотрудник не ответил", "agent did not answer"),
    "reason_cancelled": ("отменён", "cancelled"),
    "reason_rejected": ("отклонён", "rejected"),
    "reason_failed": ("не удался", "failed"),
    "reason_nothing_heard": ("слушать было некого", "nobody to hear"),
    "reason_unknown": ("причина неизвестна", "reason unknown"),
    "mode_listen": ("слушает", "listens"),
    "mode_whisper": ("шепчет", "whispers"),
    "mode_barge": ("говорит с обоими", "talks to both"),
    # PBXs.
    "no_hosts": ("Нет активных предприятий с адресом АТС.", "No active enterprise has a PBX."),
    "connected_since": ("Соединена с", "Connected since"),
    "never_connected": ("ещё не соединялись", "never connected to yet"),
    "reachable": ("Доступна", "Reachable"),
    "never_asked": ("ещё не спрашивали", "not asked yet"),
    "reachable_since": ("Доступна с", "Reachable since"),
    "away_since": ("Недоступна с", "Away since"),
    "last_asked": ("спрашивали {time}", "last asked {time}"),
    "last_error": ("Последняя ошибка", "Last error"),
    "transport": ("Транспорт", "Transport"),
    "why_set": ("так задано в ASTERISK_TRANSPORT", "as ASTERISK_TRANSPORT has it"),
    "why_quickest": ("самый быстрый, и он отвечает", "the quickest, and it answers"),
    "why_socket-refused": (
        "медленнее: в управляющем сокете отказано",
        "slower: the control socket is refused",
    ),
    "retried_in": ("быстрый пробуют через {time}", "the quicker one is tried in {time}"),
    "not_connected": ("ни один процесс не соединён", "no process is connected"),
    "not_told": ("пока неизвестно", "not known yet"),
    "latency": ("Задержка обменов", "Latency of exchanges"),
    "latency_value": (
        "{last} мс; из последних {count}: медиана {median} мс, дольше всех {longest} мс",
        "{last} ms; of the last {count}: median {median} ms, longest {longest} ms",
    ),
    "live_channels": ("Живых каналов", "Live channels"),
    "gate": ("Очередь", "Gate"),
    "gate_value": ("занято {used}, ждут {waiting}", "{used} used, {waiting} waiting"),
    "gate_size": ("мест у каждого процесса: {size}", "each process has {size}"),
    "breaker": ("Предохранитель", "Breaker"),
    "breaker_open": ("пока не соединяться", "not to be connected just now"),
    "breaker_half_open": (
        "соединиться попробует следующий запрос",
        "the next request tries to connect",
    ),
    "breaker_closed": ("соединяться можно", "free to connect"),
    "told_by": ("Процессов сообщают сейчас", "Processes telling now"),
    "asterisk_version": ("Версия Asterisk", "Asterisk's version"),
    "followed": ("Под наблюдением", "Followed"),
    "yes": ("да", "yes"),
    "no": ("нет", "no"),
    "ago": ("{time} назад", "{time} ago"),
    "host_key": ("Ключ SSH", "SSH host key"),
    "not_pinned": ("не закреплён", "not pinned"),
    "pinned_at": ("закреплён {time}", "pinned {time}"),
    "key_compare": ("Сверить ключ", "Compare the key"),
    "key_ask": ("Принять новый ключ АТС?", "Accept the PBX's new key?"),
    "key_same": ("Ключ тот же: принимать нечего.", "The key is the same: nothing to accept."),
    "key_pinned": ("Закреплён", "Pinned"),
    "key_shown": ("Показывает сейчас", "Shown now"),
    "key_means": (
        (
            "Примите его, только если АТС переустановили: сверьте отпечаток с `ssh-keygen -lf`"
            " файла ключа на самой АТС. Иначе кто-то отвечает вместо неё и получит пароль."
        ),
        (
            "Accept it only if the PBX was re-installed: compare the fingerprint with `ssh-keygen"
            " -lf` of the key's file on the PBX itself. If not, somebody answers in its place and"
            " gets the password."
        ),
    ),
    "key_accept": ("Принять новый ключ", "Accept the new key"),
    "key_accepted": ("Новый ключ принят.", "The new key was accepted."),
    "key_moved": (
        "АТС показывает уже другой ключ, чем вы подтвердили. Сверьте ещё раз.",
        "The PBX now shows another key than the one you confirmed. Compare it again.",
    ),
    "check": ("Проверить", "Check"),
    "checking": ("Проверяется, никому не звонит…", "Checking; rings nobody…"),
    "check_over": ("Проверка окончена.", "The check is over."),
    "check_busy": (
        "Уже идут другие проверки. Повторите, когда они закончатся.",
        "Other checks are under way. Try again once they are over.",
    ),
    "check_slow": (
        "Прервано: проверка длилась дольше {seconds} с.",
        "Given up: the check took more than {seconds} s.",
    ),
    # Enterprises.
    "no_enterprises": ("В таблице нет предприятий.", "The table has no enterprise."),
    "number": ("Номер", "Number"),
    "name": ("Имя", "Name"),
    "host": ("АТС", "PBX"),
    "inactive": ("не активно", "not active"),
    "missing": ("не указано", "missing"),
    "dialling": ("Звонки", "Dialling"),
    "dialling_on": ("разрешены", "on"),
    "dialling_off": ("остановлены", "stopped"),
    "dialling_stop": ("Остановить звонки", "Stop dialling"),
    "dialling_go": ("Разрешить звонки", "Let it dial again"),
    "dialling_stop_ask": ("Остановить звонки предприятия?", "Stop this enterprise's dialling?"),
    "dialling_go_ask": ("Снова разрешить звонки?", "Let this enterprise dial again?"),
    "dialling_stop_means": (
        "Всё, что звонит, получит отказ 403. Идущие разговоры продолжатся.",
        "Whatever would ring is refused with 403. Calls under way go on.",
    ),
    "dialling_go_means": ("Запросы на звонок снова принимаются.", "Calls are accepted again."),
    "type_number": (
        "Введите номер предприятия: {number}",
        "Type the enterprise's number: {number}",
    ),
    "wrong_number": (
        "Номер введён не тот: ничего не изменено.",
        "That is another number: nothing was changed.",
    ),
    "dialling_stopped": ("Звонки остановлены.", "Dialling was stopped."),
    "dialling_went": ("Звонки разрешены.", "Dialling is on again."),
    "rules": ("Правила", "Rules"),
    "allowed": ("Разрешено", "Allowed"),
    "denied": ("Запрещено", "Denied"),
    "extensions": ("Внутренние номера", "Extensions"),
    "any": ("все", "all"),
    "none": ("ничего", "nothing"),
    "not_named": ("не названы", "not named"),
    "keys": ("Секреты", "Secrets"),
    "key_of_table": ("из таблицы enterprises", "the one of table enterprises"),
    "fingerprint": ("Отпечаток", "Fingerprint"),
    "until": ("До", "Until"),
    "forever": ("бессрочно", "without an end"),
    "ended_at": ("закончился {time}", "ended {time}"),
    "key_add": ("Новый секрет", "New secret"),
    "key_name": ("Имя (необязательно), например crm", "Name (optional), e.g. crm"),
    "key_until": ("До какого дня, UTC (необязательно)", "Until which day, UTC (optional)"),
    "key_end": ("Закончить", "End"),
    "key_end_ask": ("Закончить секрет {name}?", "End the secret {name}?"),
    "key_end_means": (
        "Кто его шлёт, получит 401. Тот же секрет больше никогда не подействует.",
        "Whoever sends it gets 401. The same secret never holds again.",
    ),
    "key_ended": ("Секрет закончен.", "The secret has ended."),
    "key_made": ("Новый секрет {name}", "The new secret {name}"),
    "key_once": (
        "Показан один раз и нигде не хранится: скопируйте сейчас.",
        "Shown this once and kept nowhere: copy it now.",
    ),
    "weaknesses": ("Слабые места", "Weaknesses"),
    "no_weaknesses": ("Не найдены.", "None was found."),
    "limits": ("Лимиты, которые отказали (429)", "Limits that refused it (429)"),
    "limits_lately": ("429 за сутки", "429 within a day"),
    "no_limits": ("Ни один не отказывал за 90 дней.", "None did within 90 days."),
    "limit": ("Лимит", "Limit"),
    "limit_last": ("Последний отказ", "Last refusal"),
    "limit_times": ("Отказов", "Refusals"),
    "counted_since": ("с {time}", "since {time}"),
    "limit_extension": (
        "RATE_LIMIT_EXTENSION: звонки одного внутреннего",
        "RATE_LIMIT_EXTENSION: calls of one extension",
    ),
    "limit_enterprise": (
        "RATE_LIMIT_ENTERPRISE: звонки предприятия",
        "RATE_LIMIT_ENTERPRISE: the enterprise's calls",
    ),
    "limit_new_numbers": (
        "RATE_LIMIT_NEW_NUMBERS: номера, которым ещё не звонили",
        "RATE_LIMIT_NEW_NUMBERS: numbers not called before",
    ),
    "limit_reads": ("RATE_LIMIT_READS: чтение звонков", "RATE_LIMIT_READS: reading calls"),
    "limit_pbx_reads": (
        "RATE_LIMIT_PBX_READS: вопросы к АТС",
        "RATE_LIMIT_PBX_READS: questions to the PBX",
    ),
    "limit_too-many-open-calls": ("OPEN_CALLS_…: открытые звонки", "OPEN_CALLS_…: open calls"),
    "limit_rate-limited": (
        "слишком много ожиданий сразу",
        "too much waited for at once",
    ),
    "sql": ("Изменить в таблице enterprises", "Change in table enterprises"),
    "sql_hint": (
        "Таблица ваша: панель её не меняет, а пишет, что выполнить.",
        "The table is yours: the panel does not change it, it prints what to run.",
    ),
    "sql_secret": ("Новый случайный secret", "A new random secret"),
    "sql_off": ("Выключить предприятие", "Switch the enterprise off"),
    "sql_on": ("Включить предприятие", "Switch the enterprise on"),
    "sql_host": ("Другой адрес АТС: впишите его", "Another address of its PBX: write it in"),
    # Requests.
    "find": ("Найти", "Find"),
    "find_deed_label": ("call_id, номер, внутренний или X-Actor", "call_id, number or X-Actor"),
    "by_whom": ("Кто", "By whom"),
    "find_label": ("request_id, call_id или номер", "request_id, call_id or a number"),
    "no_log": (
        "Файла журнала нет: LOG_FILE пуст или ещё не записан. Тогда всё в консоли.",
        "There is no log file: LOG_FILE is empty, or not written yet. It is all on the console.",
    ),
    "nothing_found": (
        "В конце журнала (последние 2 МиБ) ничего не найдено.",
        "Nothing was found in the log's end, its last 2 MiB.",
    ),
    "time": ("Время", "Time"),
    "what": ("Что", "What"),
    # Durations.
    "days": ("{n} д", "{n} d"),
    "hours": ("{n} ч", "{n} h"),
    "minutes": ("{n} мин", "{n} min"),
    "seconds": ("{n} с", "{n} s"),
    "mebibytes": ("{n} МиБ", "{n} MiB"),
}
