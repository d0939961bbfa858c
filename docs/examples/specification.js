// JavaScript пример - инициация звонка
async function initiateCall(extension, phone) {
    const response = await fetch(`https://<HOST>/api/makecallexternal?code=${extension}&phone=${encodeURIComponent(phone)}&clientId=${CLIENT_SECRET}`);
    const result = await response.json();
    
    if (result.success) {
        console.log(`Звонок инициирован: ${result.message}`);
    } else {
        console.error(`Ошибка: ${result.detail}`);
    }
}

// JavaScript пример - мониторинг звонка
async function monitorCall(action, target, monitorFrom) {
    const response = await fetch(`https://<HOST>/api/monitor?action=${action}&target=${target}&monitor_from=${monitorFrom}&clientId=${CLIENT_SECRET}`);
    const result = await response.json();
    
    if (result.success) {
        console.log(`Мониторинг запущен: ${result.action_name} для номера ${result.target}`);
    } else {
        console.error(`Ошибка мониторинга: ${result.detail}`);
    }
}

// Примеры использования мониторинга:
// monitorCall("09", "150", "151"); // Подслушивание 150-го с номера 151
// monitorCall("01", "150", "151"); // Суфлирование 150-му с номера 151  
// monitorCall("02", "150", "151"); // Вмешательство в разговор 150-го
